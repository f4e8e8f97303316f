// Gives every visible text whose contrast with what is behind it is below 4.5 (WCAG 2, level AA), with the ratio.
const numbers = (text) => text.match(/[\d.]+/g).map(Number);

function luminance([red, green, blue]) {
  const linear = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

function background(element) {
  for (let each = element; each; each = each.parentElement) {
    const color = numbers(getComputedStyle(each).backgroundColor);
    if (color.length < 4 || color[3] > 0) return color;
  }
  return [255, 255, 255];
}

function contrast(element) {
  const pair = [luminance(numbers(getComputedStyle(element).color)), luminance(background(element))];
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}

const withText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
return [...document.querySelectorAll("body *")]
  .filter((element) => element.offsetParent && withText(element))
  .map((element) => [element.tagName + " " + element.textContent.slice(0, 20), contrast(element)])
  .filter(([, ratio]) => ratio < 4.5);
