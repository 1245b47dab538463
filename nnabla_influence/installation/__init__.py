"""Put the Console's plugins where a Console finds them, and take them away again."""
