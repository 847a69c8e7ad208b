# flowgru on the CPU:
#   docker build --tag flowgru .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" flowgru estimate clip.mp4 --output out
FROM python:3.12-slim
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY flowgru flowgru
# PyTorch's own index has builds without CUDA, which are a tenth of the size; both must come from one index.
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch>=2.11,<2.16" "torchvision>=0.26,<0.30" \
    && pip install --no-cache-dir .
# Whoever the container runs as may keep downloaded weights there.
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["flowgru"]
