"""The shard bank: made once, found again, rebuilt when damaged, evicted when old, whole or not there."""

import fcntl
import logging
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from optimizer.errors import GgufError, ImatrixError, RecipeError, StorageError
from optimizer.gguf.header import read_header
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization import ShardBank, assemble
from optimizer.quantization import bank as bank_module
from optimizer.quantization.leases import Lease, leased
from optimizer.quantization.requests import shard_request
from tests.models import tiny_model
from tests.quantization.conftest import Subject, imatrix_of, subject

NAME = "blk.0.ffn_up.weight"


def shards_in(bank: ShardBank) -> list[Path]:
    return sorted(bank.root.glob("*/*.gguf"))


def test_a_shard_is_a_gguf_with_one_tensor_and_its_number(bank: ShardBank, dense: Subject) -> None:
    path = bank.shard(dense.model, dense.model.by_name[NAME], "Q4_K", 9)
    header = read_header(path)
    (tensor,) = header.tensors
    assert (tensor.name, tensor.tensor_type, tensor.shape) == (NAME, "Q4_K", (256, 512))
    assert header.metadata["split.no"] == 9
    assert path.stat().st_size % 32 == 0


def test_makes_a_shard_once(bank: ShardBank, dense: Subject) -> None:
    tensor = dense.model.by_name[NAME]
    first = bank.shard(dense.model, tensor, "Q4_K", 9)
    written = first.stat().st_mtime_ns
    assert bank.shard(dense.model, tensor, "Q4_K", 9) == first
    with ShardBank(bank.root) as other:
        assert other.shard(dense.model, tensor, "Q4_K", 9) == first
        assert (other.stats().made, other.stats().reused, other.stats().shards) == (0, 1, 1)
    assert first.stat().st_mtime_ns == written


def test_type_position_importance_and_source_have_shards_of_their_own(
    bank: ShardBank, dense: Subject, tmp_path: Path
) -> None:
    tensor = dense.model.by_name[NAME]
    other = ModelFile.open(tiny_model(tmp_path / "other", n_layer=2, seed=5))
    paths = [
        bank.shard(dense.model, tensor, "Q4_K", 9),
        bank.shard(dense.model, tensor, "Q5_K", 9),
        bank.shard(dense.model, tensor, "Q4_K", 10),
        bank.shard(dense.model, tensor, "Q4_K", 9, imatrix_of(dense.model, seed=1)),
        bank.shard(dense.model, tensor, "Q4_K", 9, imatrix_of(dense.model, seed=2)),
        bank.shard(other, other.by_name[NAME], "Q4_K", 9),
    ]
    assert len(set(paths)) == 6
    # Types whose kernel ignores importance share one shard.
    plain = bank.shard(dense.model, tensor, "Q8_0", 9)
    assert bank.shard(dense.model, tensor, "Q8_0", 9, imatrix_of(dense.model)) == plain


@pytest.mark.parametrize("damage", ["flipped", "cut", "padded", "header", "empty", "swapped"])
def test_a_damaged_shard_is_made_again_with_a_warning(
    bank: ShardBank, dense: Subject, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    tensor = dense.model.by_name[NAME]
    path = bank.shard(dense.model, tensor, "Q4_K", 9)
    good = path.read_bytes()
    bad = {
        "flipped": good[:5000] + bytes([good[5000] ^ 1]) + good[5001:],
        "cut": good[:-32],
        "padded": good + b"\0" * 32,
        "header": b"GGML" + good[4:],
        "empty": b"",
        "swapped": bank.shard(dense.model, dense.model.by_name["blk.1.ffn_up.weight"], "Q4_K", 9).read_bytes(),
    }[damage]
    path.write_bytes(bad)
    with ShardBank(bank.root) as other, caplog.at_level(logging.WARNING):
        assert other.shard(dense.model, tensor, "Q4_K", 9) == path
    assert path.read_bytes() == good
    assert "is damaged" in caplog.text


def test_data_is_checked_once_a_process(bank: ShardBank, dense: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dense.presets["Q4_K_M"].recipe
    assemble(dense.model, recipe, dense.presets.quantizable, bank).close()
    checked: list[Path] = []
    check = bank_module.check_data
    monkeypatch.setattr(bank_module, "check_data", lambda header: (checked.append(header.path), check(header)))
    with ShardBank(bank.root, threads=2) as other:
        for _ in range(3):
            assemble(dense.model, recipe, dense.presets.quantizable, other).close()
    assert sorted(checked) == shards_in(bank)


def test_refuses_what_cannot_be_made(bank: ShardBank, dense: Subject, tmp_path: Path) -> None:
    tensor = dense.model.by_name[NAME]
    with pytest.raises(ImatrixError, match="IQ2_XXS"):
        bank.shard(dense.model, tensor, "IQ2_XXS", 1)
    with pytest.raises(RecipeError, match="Q8_K"):
        bank.shard(dense.model, tensor, "Q8_K", 1)
    narrow = ModelFile.open(tiny_model(tmp_path / "narrow", n_layer=1, ffn=96))
    with pytest.raises(RecipeError, match="rows of 96"):
        bank.shard(narrow, narrow.by_name["blk.0.ffn_down.weight"], "Q4_K", 1)
    assert bank.shard(narrow, narrow.by_name["blk.0.ffn_down.weight"], "Q5_0", 1).exists()


def test_a_quantized_source_is_refused_unless_allowed(bank: ShardBank, tmp_path: Path) -> None:
    model = ModelFile.open(tiny_model(tmp_path / "q8", n_layer=1, tensor_type="Q8_0"))
    native = ModelFile.open(tiny_model(tmp_path / "mxfp4", n_layer=1, tensor_type="MXFP4"))
    with pytest.raises(GgufError, match=r"already Q8_0.*--allow-requantize"):
        bank.shard(model, model.by_name[NAME], "Q4_K", 1)
    with pytest.raises(GgufError, match="natively MXFP4"):
        bank.shard(native, native.by_name[NAME], "Q4_K", 1)
    kept = bank.shard(native, native.by_name[NAME], "MXFP4", 1)
    source, (copy,) = native.by_name[NAME], read_header(kept).tensors
    start = kept.read_bytes()[copy.offset : copy.offset + copy.n_bytes]
    assert start == source.path.read_bytes()[source.offset : source.offset + source.n_bytes]
    with ShardBank(bank.root, allow_requantize=True) as lenient:
        assert lenient.shard(model, model.by_name[NAME], "Q4_K", 1).exists()


Usage = namedtuple("Usage", "total used free")


def test_a_small_disk_is_noticed_before_work_starts(
    bank: ShardBank, dense: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9 - 10**6, 10**6))
    with pytest.raises(StorageError, match=r"disk too small for \d+ shards: .* needed in .* 1.00 MB free; free some"):
        assemble(dense.model, dense.presets["Q8_0"].recipe, dense.presets.quantizable, bank)
    assert shards_in(bank) == []


def test_a_disk_that_fills_up_leaves_no_half_shard(
    bank: ShardBank, dense: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        bank.shard(dense.model, dense.model.by_name[NAME], "Q4_K", 1)
    assert not list(bank.root.glob("*/*"))


def test_evicts_the_least_recently_used(bank: ShardBank, dense: Subject) -> None:
    tensor = dense.model.by_name[NAME]
    paths = [bank.shard(dense.model, tensor, kind, 1) for kind in ("Q4_K", "Q5_K", "Q6_K")]
    bank.shard(dense.model, tensor, "Q4_K", 1)  # used again
    sizes = {path: path.stat().st_size for path in paths}
    assert bank.evict(sum(sizes.values()) - 1) == sizes[paths[1]]
    assert shards_in(bank) == sorted([paths[0], paths[2]])
    assert bank.evict(0) == sizes[paths[0]] + sizes[paths[2]]


def test_the_cap_holds_and_spares_live_candidates(tmp_path: Path, dense: Subject) -> None:
    first, second = dense.presets["Q4_K_M"].recipe, dense.presets["Q5_K_M"].recipe
    with ShardBank(tmp_path / "probe", threads=2) as probe:
        assemble(dense.model, second, dense.presets.quantizable, probe).close()
        cap = int(probe.stats().bytes * 1.2)
    with ShardBank(tmp_path / "bank", threads=2, cap_bytes=cap) as bank:
        live = assemble(dense.model, first, dense.presets.quantizable, bank)
        other = assemble(dense.model, second, dense.presets.quantizable, bank)
        assert all(path.exists() for path in (*live.paths, *other.paths))  # above the cap, but in use
        assert bank.stats().bytes > cap
        live.close()
        other.close()
        bank.evict(cap)
        assert bank.stats().bytes <= cap
        with assemble(dense.model, first, dense.presets.quantizable, bank) as live:
            assert all(path.exists() for path in live.paths)
        assert bank.stats().evicted > 0


def test_a_cap_below_one_candidate_is_refused(tmp_path: Path, dense: Subject) -> None:
    with ShardBank(tmp_path / "bank", cap_bytes=100_000) as bank, pytest.raises(StorageError, match="raise its cap"):
        assemble(dense.model, dense.presets["Q8_0"].recipe, dense.presets.quantizable, bank)


HOLD = """
import sys, time
from pathlib import Path
from optimizer.quantization.leases import Lease
root = Path(sys.argv[1])
lease = Lease(root)
print(len(lease.add(sorted(root.glob("*/*.gguf")))), flush=True)
time.sleep(60)
"""


def test_leases_of_other_processes_hold_and_die_with_them(bank: ShardBank, dense: Subject) -> None:
    path = bank.shard(dense.model, dense.model.by_name[NAME], "Q4_K", 1)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(bank.root)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "1\n"
        assert leased(bank.root) == {path}
        assert bank.evict(0) == 0
    finally:
        holder.kill()
        holder.communicate()
    assert bank.evict(0) > 0
    assert list((bank.root / "leases").iterdir()) == []


def test_a_lease_ends_when_it_is_let_go(bank: ShardBank, dense: Subject) -> None:
    path = bank.shard(dense.model, dense.model.by_name[NAME], "Q4_K", 1)
    lease = Lease(bank.root)
    assert lease.add([path, path.with_name("missing.gguf")]) == {path}
    assert leased(bank.root) == {path, path.with_name("missing.gguf")}
    del lease
    assert leased(bank.root) == set()


def test_a_lease_that_ends_while_it_is_looked_at(
    bank: ShardBank, dense: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bank.shard(dense.model, dense.model.by_name[NAME], "Q4_K", 1)
    lease, flock = Lease(bank.root), fcntl.flock
    lease.add([path])

    def flock_and_release(descriptor: int, operation: int) -> None:
        try:
            flock(descriptor, operation)
        finally:
            if operation & fcntl.LOCK_SH:
                lease.release()

    monkeypatch.setattr(fcntl, "flock", flock_and_release)
    assert leased(bank.root) == {path}
    assert leased(bank.root) == set()


SLOW = """
import os, sys, time
from pathlib import Path
from optimizer.gguf.model_file import ModelFile
from optimizer.quantization import ShardBank, shard
write_at = shard.write_at
def slow(file, chunk, offset):
    write_at(file, chunk, offset)
    print("writing", flush=True)
    time.sleep(60)
shard.write_at = slow
model = ModelFile.open(Path(sys.argv[1]))
ShardBank(Path(sys.argv[2])).shard(model, model.by_name[sys.argv[3]], "Q4_K", 1)
"""


def test_kill_9_leaves_no_half_shard(bank: ShardBank, dense: Subject) -> None:
    expected = shard_request(bank.root, dense.model, dense.model.by_name[NAME], "Q4_K", 1).path
    command = [sys.executable, "-c", SLOW, str(dense.path), str(bank.root), NAME]
    maker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert maker.stdout is not None
    assert maker.stdout.readline() == "writing\n"
    maker.send_signal(signal.SIGKILL)
    maker.communicate()
    (left,) = bank.root.glob("*/*.gguf*")
    assert left.name == expected.name + ".part"
    with ShardBank(bank.root) as other:  # opening a bank removes what the dead left
        assert not list(bank.root.glob("*/*.part"))
        left.write_bytes(b"something a dead process wrote")
        assert other.shard(dense.model, dense.model.by_name[NAME], "Q4_K", 1) == expected
    assert [path.name for path in bank.root.glob("*/*")] == [expected.name]  # its lease is gone, too


def make_all(model_path: Path, root: Path) -> int:
    own = subject_of(model_path)
    with ShardBank(root, threads=1) as bank:
        assemble(own.model, own.presets["Q5_K_M"].recipe, own.presets.quantizable, bank).close()
        return bank.stats().made


def subject_of(path: Path) -> Subject:
    from optimizer.recipes.presets import load_presets

    model = ModelFile.open(path)
    return Subject(path, model, load_presets(model, cache_dir=path.parent))


def test_processes_share_the_work(tmp_path: Path) -> None:
    own = subject(tmp_path, n_layer=3)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        made = pool.starmap(make_all, [(own.path, tmp_path / "bank")] * 3)
    assert sum(made) == len(own.presets.quantizable) + 1


def test_a_file_in_the_making_is_not_taken_for_abandoned(bank: ShardBank, dense: Subject) -> None:
    command = [sys.executable, "-c", SLOW, str(dense.path), str(bank.root), NAME]
    maker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "writing\n"
        ShardBank(bank.root).close()
        assert len(list(bank.root.glob("*/*.part"))) == 1
    finally:
        maker.kill()
        maker.communicate()


def test_an_assembled_candidate_takes_milliseconds(bank: ShardBank, dense: Subject) -> None:
    recipe = dense.presets["Q4_K_M"].recipe
    assemble(dense.model, recipe, dense.presets.quantizable, bank).close()
    start = time.perf_counter()
    assemble(dense.model, recipe, dense.presets.quantizable, bank).close()
    assert time.perf_counter() - start < 0.25  # about 1 ms; the rest is for busy machines
