"""Code of answers: offered as a cell, promoted and proved; errors and objects to explain."""
