"""Files with one image a row: IDX, npz, CSV and parquet."""
