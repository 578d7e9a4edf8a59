"""Statistics of on/off counts: plain arrays in, plain arrays out."""

from xonoff.stats.intervals import excess_errors, feldman_cousins, rolke, upper_limit
from xonoff.stats.pvalues import p_value, significance
from xonoff.stats.sensitivity import excess_for_significance
from xonoff.stats.wstat import alpha, background, excess, excess_significance, li_ma, wstat, wstat_mu_off, wstat_sum

__all__ = [
    "alpha",
    "background",
    "excess",
    "excess_errors",
    "excess_for_significance",
    "excess_significance",
    "feldman_cousins",
    "li_ma",
    "p_value",
    "rolke",
    "significance",
    "upper_limit",
    "wstat",
    "wstat_mu_off",
    "wstat_sum",
]
