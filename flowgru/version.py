"""Which release of flowgru this is: the package's metadata take it from here, so that a bare checkout knows it, too."""

VERSION = "0.2.0.dev1"
