"""The parts of the `cutpaste` renderer: banks of cut-outs and backgrounds, and compositing."""
