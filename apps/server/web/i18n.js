// The page's words in English and Chinese.
const words = {
  en: {
    pictures: "Pictures",
    dropHint: "Drop pictures here, paste them, or:",
    pick: "Pick files",
    camera: "Camera",
    address: "Address",
    fetch: "Fetch",
    shoot: "Take picture",
    close: "Close",
    task: "Task",
    caption: "Caption",
    match: "Match",
    ask: "Ask",
    texts: "Texts, one a line",
    run: "Run",
    clear: "Remove all pictures",
    results: "Results",
    history: "History",
    search: "Search",
    deleteAll: "Delete all",
    more: "More",
    settings: "Settings",
    model: "Model",
    beams: "Beams (1 streams word by word)",
    minLength: "Shortest, in tokens",
    maxLength: "Longest, in tokens",
    sample: "Sample",
    temperature: "Temperature",
    topP: "Top p",
    seed: "Seed",
    apiKey: "API key",
    remove: "Remove",
    delete: "Delete",
    question: "Question",
    askHint: "Type a question under a picture.",
    send: "Send",
    name: "Picture",
    text: "Text",
    value: "Value",
    time: "Time",
    open: "Open again",
    cached: "encoding reused",
    noPictures: "Add a picture first.",
    noTexts: "Write at least one text.",
    failed: "Failed",
    busy: "Working…",
    notImage: "is not a picture",
    cannotFetch: "The browser may not fetch this address; save the picture and drop it here.",
    noCamera: "There is no camera, or its use was refused.",
    sure: "Delete the whole history?",
    dark: "Dark",
    light: "Light",
    threads: "threads",
    defaultModel: "by task",
    words: "Words; each shows where the model looked",
    historyOff: "This server keeps no history.",
    historyKey: "Your history needs an API key: write it into the settings.",
    keptShared:
      "Kept on the server {0}. Everybody who can reach it sees and can delete these entries.",
    keptOwn: "Kept on the server {0}, for your API key alone.",
    keptUsage: "{0} of {1} entries, {2} of {3} MB; the oldest make room.",
    notKept: "Not kept in the history: {0}",
    madeRoom: "{0} older entries made room.",
    notReadable: "This entry cannot be shown whole: {0}",
    place00: "most at the top left",
    place01: "most at the top",
    place02: "most at the top right",
    place10: "most at the left",
    place11: "most in the middle",
    place12: "most at the right",
    place20: "most at the bottom left",
    place21: "most at the bottom",
    place22: "most at the bottom right",
  },
  zh: {
    pictures: "图片",
    dropHint: "把图片拖到这里、粘贴,或者:",
    pick: "选择文件",
    camera: "摄像头",
    address: "网址",
    fetch: "获取",
    shoot: "拍照",
    close: "关闭",
    task: "任务",
    caption: "描述",
    match: "匹配",
    ask: "提问",
    texts: "文本,每行一条",
    run: "运行",
    clear: "移除全部图片",
    results: "结果",
    history: "历史",
    search: "搜索",
    deleteAll: "全部删除",
    more: "更多",
    settings: "设置",
    model: "模型",
    beams: "束宽(1 时逐词显示)",
    minLength: "最短长度(词元)",
    maxLength: "最长长度(词元)",
    sample: "采样",
    temperature: "温度",
    topP: "Top p",
    seed: "随机种子",
    apiKey: "API 密钥",
    remove: "移除",
    delete: "删除",
    question: "问题",
    askHint: "在图片下方输入问题。",
    send: "发送",
    name: "图片",
    text: "文本",
    value: "数值",
    time: "耗时",
    open: "重新打开",
    cached: "编码已复用",
    noPictures: "请先添加图片。",
    noTexts: "请至少写一条文本。",
    failed: "失败",
    busy: "处理中…",
    notImage: "不是图片",
    cannotFetch: "浏览器无法获取该网址;请保存图片后拖到这里。",
    noCamera: "没有摄像头,或未获准使用。",
    sure: "删除全部历史?",
    dark: "深色",
    light: "浅色",
    threads: "线程",
    defaultModel: "按任务",
    words: "词语;每个词显示模型关注的位置",
    historyOff: "此服务器不保存历史。",
    historyKey: "查看历史需要 API 密钥:请在设置中填写。",
    keptShared: "保存在服务器 {0} 上。所有能访问它的人都能看到并删除这些记录。",
    keptOwn: "保存在服务器 {0} 上,仅供您的 API 密钥使用。",
    keptUsage: "{0} / {1} 条,{2} / {3} MB;最旧的会被清除。",
    notKept: "未能保存到历史:{0}",
    madeRoom: "已清除 {0} 条较旧的记录。",
    notReadable: "此记录无法完整显示:{0}",
    place00: "主要在左上",
    place01: "主要在上方",
    place02: "主要在右上",
    place10: "主要在左侧",
    place11: "主要在中间",
    place12: "主要在右侧",
    place20: "主要在左下",
    place21: "主要在下方",
    place22: "主要在右下",
  },
};

let language =
  localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

// The words, with the values in the places {0}, {1}, ...; a key that has none is shown as it is.
export const t = (key, ...values) =>
  (Object.hasOwn(words[language], key) ? words[language][key] : String(key)).replace(
    /\{(\d)\}/g,
    (_, place) => values[place],
  );

// For screen readers: what the control does, and to which picture.
export function label(element, key, name) {
  Object.assign(element.dataset, { label: key, name });
  element.setAttribute("aria-label", `${t(key)}: ${name}`);
  if (element.tagName === "INPUT") element.placeholder = t(key);
}

export function applyLanguage() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-i18n]"))
    element.textContent = t(element.dataset.i18n);
  for (const element of document.querySelectorAll("[data-label]"))
    label(element, element.dataset.label, element.dataset.name);
  for (const element of document.querySelectorAll("[data-title]"))
    element.title = t(element.dataset.title);
  document.getElementById("language").textContent = language === "zh" ? "English" : "中文";
  document.getElementById("language").lang = language === "zh" ? "en" : "zh-CN";
}

export function switchLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  applyLanguage();
}
