"""Numbers as people of the field write them: bytes in GB and GiB, KLD with its error, perplexity with its error."""


def size_text(n_bytes: int) -> str:
    """`17.92 GB (16.69 GiB)`; MB and MiB below 0.1 GB. GB is 1e9 bytes, GiB is 2^30."""
    if n_bytes < 10**8:
        return f"{n_bytes / 1e6:.2f} MB ({n_bytes / 2**20:.2f} MiB)"
    return f"{n_bytes / 1e9:.2f} GB ({n_bytes / 2**30:.2f} GiB)"


def kld_text(mean: float, standard_error: float | None = None) -> str:
    return f"{mean:.6f}" + ("" if standard_error is None else f" ± {standard_error:.6f}")


def perplexity_text(perplexity: float, standard_error: float | None = None) -> str:
    return f"{perplexity:.4f}" + ("" if standard_error is None else f" ± {standard_error:.4f}")


def percent_text(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"


def bits_text(bits_per_weight: float | None) -> str:
    return "" if bits_per_weight is None else f"{bits_per_weight:.3f}"
