"""A fleet for another engine, out of the Plan that `up` runs: texts of files, nothing asked, nothing started."""
