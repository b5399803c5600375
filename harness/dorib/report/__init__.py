"""What a run leaves for its readers: results, strips of pictures, figures and web pages."""
