"""Tables that ship with the package; `SOURCES.md` says where their figures come from."""
