"""`python -m benchmarks`: the bulk benchmark with its defaults."""

from benchmarks.bulk import main

if __name__ == "__main__":
    main()
