"""Generated pairs with exact flow: textures, shapes, motion, rendering and exposure."""
