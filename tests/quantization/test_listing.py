from pathlib import Path

from optimizer.quantization.listing import list_shards


def test_a_bank_lists_whole_shards_with_their_sizes_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    for name, n_bytes in (("a.gguf", 3), ("b.gguf", 5), ("b.gguf.part", 7), ("lease", 1)):
        (tmp_path / "model" / name).write_bytes(bytes(n_bytes))
    (tmp_path / "outside.gguf").write_bytes(bytes(9))
    listed = sorted(list_shards(tmp_path))
    assert [(shard.path.name, shard.n_bytes) for shard in listed] == [("a.gguf", 3), ("b.gguf", 5)]
    assert [shard.last_use for shard in listed] == [shard.path.stat().st_atime_ns for shard in listed]
