"""Files and generated pairs become samples; estimates become files."""
