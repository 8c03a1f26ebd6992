"""Pictures of a study, a file each."""
