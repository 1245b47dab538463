"""What a person sees of a ranking: the page to review it on, and the workbook."""
