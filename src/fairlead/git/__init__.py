"""Git repositories: the git command for network, verification and pushing; libgit2 for reading."""
