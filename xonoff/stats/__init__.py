"""Statistics of on/off counts: plain arrays in, plain arrays out."""

from xonoff.stats.wstat import alpha, background, excess, li_ma, wstat, wstat_mu_off, wstat_sum

__all__ = ["alpha", "background", "excess", "li_ma", "wstat", "wstat_mu_off", "wstat_sum"]
