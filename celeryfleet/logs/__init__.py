"""Log files that many processes write, rotate and read at once; knows no workers, only files and lines."""
