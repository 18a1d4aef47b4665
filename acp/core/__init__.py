"""What every other part of the package knows: types, boxes, errors, settings, seeds, files."""
