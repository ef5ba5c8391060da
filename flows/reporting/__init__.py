"""What a run can prove: its figures, its verdict, and the forms in which a person reads them."""
