"""A page for the browser: drop two pictures or a clip, and look at their flow; gradio is at home here alone.

`work` estimates into a folder of each visitor's own, `looking` makes what is shown of it, `downloads` what is taken home,
`page` is the page, and `server` serves it.
"""
