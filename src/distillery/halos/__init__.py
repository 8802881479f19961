"""Dark matter halos: universes grown here or read from Quijote's files, as catalogues of halos."""
