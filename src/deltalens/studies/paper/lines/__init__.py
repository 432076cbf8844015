"""Figure 3 on the organisms: the lines between fine-tunes, and what else lies near them."""
