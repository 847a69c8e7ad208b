"""What spoils pictures between the world and the file: noise, blur, light, weather and compression."""
