"""Makes the shards of a build and keeps them."""
