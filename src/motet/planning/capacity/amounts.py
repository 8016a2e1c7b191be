"""Times, sizes and money as people read them."""

from __future__ import annotations

__all__ = ["shown_each", "shown_money", "shown_size", "shown_time"]


def shown_time(seconds: float) -> str:
    """`1.2 s`, `34 min`, `5.6 h`."""
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 360_000 else f"{seconds / 86400:,.0f} d"


def shown_each(seconds: float) -> str:
    """Of one row: `12.3 us`, `4.5 ms`."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} us"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def shown_size(size: float) -> str:
    """`512 MiB`, `4 GiB`."""
    if size >= 1 << 30:
        return f"{size / (1 << 30):.3g} GiB"
    return f"{size / (1 << 20):,.0f} MiB" if size >= 1 << 20 else f"{size / 1024:,.0f} KiB"


def shown_money(cost: float, *, priced: bool) -> str:
    """Money, or machine hours."""
    number = f"{cost:,.2f}" if cost >= 10 else f"{cost:.3g}"
    return number if priced else f"{number} machine hours"
