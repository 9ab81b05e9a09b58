"""What a study is: its settings, the files that it names, what its jobs ask for, what it will cost."""
