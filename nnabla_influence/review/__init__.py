"""The review page and the workbook of a ranking."""
