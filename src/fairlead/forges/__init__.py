"""Pull requests at GitHub, GitLab and Gitea."""
