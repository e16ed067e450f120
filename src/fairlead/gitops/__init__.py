"""Service 2, the GitOps controller: keeps targets equal to what Git says."""
