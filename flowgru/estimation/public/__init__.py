"""What `import flowgru` gives around flow: estimates between whatever frames a caller has, warping, and occlusion."""
