"""What a study is: its settings and files, what it will cost, and the command line."""
