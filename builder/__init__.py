"""The `datasets` builder and the release of a data set folder."""
