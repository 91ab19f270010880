"""layerquant: proposes per-layer quantization types, builds candidates, keeps results and hands them over."""
