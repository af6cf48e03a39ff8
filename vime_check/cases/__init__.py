"""Operations, their mistakes and cases, by subject."""
