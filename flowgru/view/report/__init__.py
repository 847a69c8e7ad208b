"""Pages and charts of reports: plain HTML and SVG, which need nothing from elsewhere."""
