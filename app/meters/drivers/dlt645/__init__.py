"""DL/T 645-2007, the protocol of nearly every electricity meter in China."""
