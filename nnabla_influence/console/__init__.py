"""Where the Console's plugins meet the library."""
