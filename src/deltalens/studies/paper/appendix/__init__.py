"""Figures 4 and 5 and the appendix on the organisms: groups, the base's groups, and single PCs."""
