"""SASRec as RecTools and RecBole have it, beside ours: `python -m benchmarks.libraries`."""
