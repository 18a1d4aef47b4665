"""What the stages combine, describe and lay out are made of."""
