"""Does an answer change when the rows that explain it are removed?"""
