"""Reading and writing on/off datasets."""
