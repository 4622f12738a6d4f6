"""The commands of `stylobate`, a module each."""
