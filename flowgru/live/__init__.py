"""Flow of a camera as it runs: the newest frame wins, and a window or a page shows it beside its flow."""
