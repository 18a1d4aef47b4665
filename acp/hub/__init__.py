"""Publishing folders on the Hub: one release, one commit."""
