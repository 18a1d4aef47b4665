"""What a recipe will take in hours, memory and disk, from measured rates."""
