"""The pages: server-rendered HTML that works by itself, and one small script for each that makes it live."""
