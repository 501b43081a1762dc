"""Redis as the hub uses it: commands in order and never repeated, scripts, and connections on which it pushes."""
